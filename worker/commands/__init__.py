"""The commands, one module a group: each `register` adds its own to the application."""
