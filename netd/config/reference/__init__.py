"""Pages and schemas that are made from the configuration's schema. Imports the rest of ``config``.

Nothing here knows a key by name: what ``schema`` says is what these pages say.
"""
