"""What is verified before anything is bound, and before a reload: code, certificates, rights."""
