"""The formats of monitoring systems: Nagios plugins and Prometheus."""
