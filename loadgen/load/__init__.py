"""When and what to send, sending, counting; knows no wire protocol."""
