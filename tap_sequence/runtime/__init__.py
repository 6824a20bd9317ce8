"""What belongs to the process rather than to Sequence or Singer."""
