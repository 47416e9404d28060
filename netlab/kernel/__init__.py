"""The only door to netlink, nft, conntrack and namespaces; ships its fake."""
