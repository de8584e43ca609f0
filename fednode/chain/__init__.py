"""The chain: blocks of any application, final when they are decided, signed by known members."""
