"""Published numbers of retrieval that a report shows beside its own.

IRGAN's table of item recommendation (Wang et al. 2017, 1705.10513): its round was chosen on test, as was that of its
start, its row LambdaFM. Its web search was on MQ2008-semi, another collection than MQ2008, and stands nowhere here.
"""

MOVIELENS = {
    "MLE": {"p@3": 0.3369, "p@5": 0.3013, "p@10": 0.2559, "map": 0.2005, "ndcg@3": 0.3461, "ndcg@5": 0.3236,
            "ndcg@10": 0.3017, "mrr": 0.5264},
    "BPR": {"p@3": 0.3289, "p@5": 0.3044, "p@10": 0.2656, "map": 0.2009, "ndcg@3": 0.3410, "ndcg@5": 0.3245,
            "ndcg@10": 0.3076, "mrr": 0.5290},
    "LambdaFM (IRGAN's start)": {"p@3": 0.3845, "p@5": 0.3474, "p@10": 0.2967, "map": 0.2222, "ndcg@3": 0.3986,
                                 "ndcg@5": 0.3749, "ndcg@10": 0.3518, "mrr": 0.5797},
    "IRGAN": {"p@3": 0.4072, "p@5": 0.3750, "p@10": 0.3140, "map": 0.2418, "ndcg@3": 0.4222, "ndcg@5": 0.4009,
              "ndcg@10": 0.3723, "mrr": 0.6082},
    "IRGAN, released": {"p@3": 0.4057, "p@5": 0.3785, "p@10": 0.3184, "map": 0.2442, "ndcg@3": 0.4228,
                        "ndcg@5": 0.4053, "ndcg@10": 0.3775, "mrr": 0.6103},
}  # fmt: skip
"""MovieLens-100K in IRGAN's split, 1,683 items, ratings of 4 or more, the known positives left out of rankings"""
SOURCE = (
    "IRGAN's split of MovieLens-100K: Wang et al. 2017, who chose the round on the test data; released: what their "
    "published weights measure."
)
