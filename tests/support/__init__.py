"""What several test modules share: small configs, hand-made records, a hub played on this machine."""
