"""From power-on to an accepted hub session, stage by stage."""
