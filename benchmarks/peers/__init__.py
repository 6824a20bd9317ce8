"""Others that read the same list, each as its own documentation would have it."""
