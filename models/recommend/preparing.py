"""Ready before the first customer: every compiled loop is compiled, or loaded as it was before."""

import numpy as np
from scipy.sparse import csr_array

from models.recommend import kernels
from models.recommend.content import NO_CONTENT
from models.recommend.customer_rows import Decay, row_of
from models.recommend.hybrid import Collector, Liked, Shop
from models.recommend.interactions import ItemTable
from models.recommend.neighbors import NeighborIndex
from models.recommend.recommender import Asked, empty_recommender, own_items, recommend
from models.recommend.similarity import DECIMALS, Similarity, TwoStage


def prepare() -> None:
    """Compile all kernels, or load them as they were compiled before, by using each once.

    Raises  KernelError where this machine cannot

    >>> prepare()
    """
    try:
        near = _search()
        _list()
    except Exception as error:  # numba and LLVM raise whatever they like
        raise kernels.KernelError(f"{type(error).__name__}: {error}") from error
    if near != [("a", round(1 / np.sqrt(10), DECIMALS))]:
        raise kernels.KernelError(f"compiled loops answer {near}")


def _index() -> NeighborIndex:
    matrix = csr_array(np.array([[1.0, 0.0], [1.0, 2.0]]))
    return NeighborIndex.build(["a", "b"], ItemTable(["x", "y"]), matrix)


def _search() -> list[tuple[str, float]]:
    index = _index()
    for similarity in Similarity:
        index.similar(["a"], 1, similarity, two_stage=TwoStage())
    index.similar(["a", "b"], index.watched)
    index.update("a", ["x", "z"], [1.0, 1.0], watch=True)
    index.take_nudges()
    near = index.similar(["b"], 1)[0]
    index.rows(index.customers())
    index.together(["x"], 1)
    return near


def _list() -> None:
    index = _index()
    shop, items, day = empty_recommender(("x", "y")), np.zeros(2, np.int64), np.array([1, 9])
    index.put("c", row_of(items, day, np.ones(2), Decay()))
    own = own_items(items, day, np.ones(2), half_life_days=shop.half_life_days)
    liked = Liked(*index.liked(*index.near(["b"], 1)))
    asked = Asked("a", own, liked, 30, np.zeros(0, np.int64))
    index.renew_companions(np.array([0]))
    about = Shop(index.popularity, index.companions, shop.habits, NO_CONTENT)
    collector = Collector(about, 2)
    recommend(shop, collector, shop.items, asked)
    index.put("d", row_of(items + 1, day + 20, np.ones(2), Decay()))
    recommend(shop, collector, shop.items, asked)  # now what is popular has changed since
