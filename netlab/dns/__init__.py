"""The cluster's DNS: what a name means (`zone`), the server on every node (`server`), and the client side.

`resolver` is what a pod's /etc/resolv.conf says and the names glibc tries because of it; `environment` is the other, older
way by which a pod learns of Services: environment variables.
"""
