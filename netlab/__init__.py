"""netlab boots a Kubernetes cluster's network, and nothing else of Kubernetes, from one topology file.

The tour, from the words of the field down to the kernel:

    cli         words in, words out; exit codes
    lab         the story of up, down, status and test, read top to bottom
    daemon      one process per lab: API server, controllers, kubelet, the lab's own controller
    probe       computes the checks from the objects, runs them with real packets, shows evidence
    node        the kubelet, the agent of a node, and how pods run
    edge        the load balancer and router between the nodes and the outside
    workloads   the built-in workloads, and the process that serves them
    hosts       hosts as network namespaces or containers; images: the images of the containers
    engine      the container engine, and its fake
    process     how processes start, are found again and end; state: what a lab keeps on disk
    http        a small HTTP server for agents and workloads
    controlplane  the Kubernetes API: store, watch, REST, client, controllers
    dns         the cluster's zone, and its server
    kernel      the only door to netlink, nft, conntrack, namespaces; ships its fake
    plane       what a node should hold: an ordered tuple of parts (pure)
    overlay     from Nodes to devices and routes between them, and what leaves the pod network (pure)
    proxy       from Services and EndpointSlices to rules (pure)
    dataplane   what a namespace should hold, and the difference to what it holds (pure)
    netfilter   rules as values, their building blocks and text, a packet's way through them (pure)
    topology    from text to a Lab and its manifests, with line numbers (pure)
    ipam        which address belongs to what (pure)
    api         Kubernetes' nouns as frozen types, and the names all parts agree on (pure)
    serving     how servers take connections: bounds per client, an accept loop that survives a lack of descriptors
    family      IPv4 and IPv6 as values, which every compiler of addresses takes (pure)
    errors      every error a user can meet; files: how a file is replaced whole; recent: a set of bounded size

Each package's own docstring introduces its modules; docs/architecture.md says how they work together at run time.
Names: a lab `quickstart` with a node `node1` has the network namespace `quickstart-node1`; see `netlab.dataplane.names`.
"""

__version__ = "0.1.0"
