"""What a site and its mobile operator serve: DHCP, DNS, NTP, captive portal."""
