"""What our own calls are known by, wherever they come back from."""

from typing import Final

LIBRARY: Final = "crm-reflex"
"""`context.library.name` of Segment calls."""

ENTERED: Final = "Audience Entered"
EXITED: Final = "Audience Exited"
"""Names of events: into a segment or a rule segment, and out of one into none."""
