"""Put deployments together: from settings to adapters, stages and steps. The only room that knows them all.

`profiles` and `stock` assemble their flows, `assembly` is what both share, `opening` opens what others look at too, and
`launch` decides where a run begins. `delivery` assembles the third flow (`delivery_config`, `delivery_input` and
`delivery_tools` beside it). `running` runs a flow in this process or as a cluster; `warm` compiles all kernels once;
`drill` rehearses a flash sale.

What may come in: wiring. A decision belongs further down.
"""
