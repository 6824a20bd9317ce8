"""Makes text from outside fit for messages: printable, short, without secrets and e-mail addresses."""
