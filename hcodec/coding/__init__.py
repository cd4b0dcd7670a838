"""The room of entropy coding: integer symbols and tables to bytes and back. The only importer of constriction."""
