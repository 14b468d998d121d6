"""Documents as actions: judged collections, scorers, candidate samplers, ranking metrics, games between rankers."""
