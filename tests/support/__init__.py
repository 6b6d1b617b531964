"""What several test modules share: small configs, hand-made records, a hub on this machine."""
