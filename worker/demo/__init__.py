"""The demo: a year of a grocer's real purchases goes through everything on this machine."""
