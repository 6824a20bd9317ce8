"""What happens to records on their way out, and to the schemas that describe them."""
