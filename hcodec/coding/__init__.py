"""The room of entropy coding: integer symbols and tables to bytes and back. Nothing else imports constriction."""
