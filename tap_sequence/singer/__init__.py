"""The tap as the Singer SDK and the command line see it: the only importer of singer_sdk and click."""
