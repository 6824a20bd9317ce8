"""Text from outside, made fit to be shown: printable, short, without secrets and addresses."""
