"""Changes to records on their way out, and to the schema that describes them."""
