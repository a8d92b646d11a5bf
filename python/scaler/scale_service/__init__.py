"""The scale service: the only thing of ours with rights on Deployments.

`policy` says who may do what within which bounds, `cluster` speaks to the API server, `rollout` reads what Kubernetes
says about a Deployment, and `operations` puts the three together, once for every transport: `rest` serves them over
HTTP. `app` composes; `settings` is the table.
"""
