"""Put deployments together: from settings to adapters, stages and steps. The only package that knows all of them.

`profiles` and `stock` assemble their flows, `assembly` is what both flows share, `opening` opens what commands use,
too, and `launch` decides where a run begins (`launching`: what it looks at before). `delivery` assembles the third flow
(`delivery_config`, `delivery_input` and `delivery_tools` beside it). `running` runs a flow in this process or as a
cluster; `warm` compiles all kernels once; `drill` rehearses a flash sale.

What may come in: wiring. A decision belongs to a lower package.
"""
