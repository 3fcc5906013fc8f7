"""The worker processes of a service as the daemon sees them: started, watched, scaled, replaced."""
