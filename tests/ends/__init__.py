"""How processes end: killed, by a signal, by themselves."""
