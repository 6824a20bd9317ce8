"""The Singer tap and its command line: the only importer of singer_sdk and click."""
