"""Singer tap for the activity log (audit trail) of Sequence, the billing platform."""

from importlib.metadata import version

__version__ = version("tap-sequence")
