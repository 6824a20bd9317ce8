"""The Airbyte front: the command `source-sequence`, which speaks the Airbyte protocol."""
