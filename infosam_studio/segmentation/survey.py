"""Learning and suggesting from every distance that the accepted objects need, view by view.

What is learnt at one distance (`knowledge.Learner`) says nothing about another: the same object is
another thing to the model when it is larger. So each distance learns by itself, images are looked
at from afar first, and where a view is sure of something the nearer ones need not click again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.pyramid_store import is_large
from infosam_studio.segmentation.candidates import Mask
from infosam_studio.segmentation.close_ups import View, sides_for, views
from infosam_studio.segmentation.knowledge import Accepted, Knowledge, Learner
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.sharpening import Sharpening
from infosam_studio.segmentation.suggesting import (
    DEFAULT_SUGGESTING,
    Suggestion,
    SuggestOptions,
    alike,
    best_of,
    look_for,
)

Encode = Callable[[View], Embedding]
Box = tuple[int, int, int, int]

# Views learnt from at each distance; more takes longer and hardly changes anything.
MOST_LEARNT = 16
# How much of a search is looking again from near, for those who wait.
NEARER_SHARE = 0.3


@dataclass(frozen=True)
class Known:
    """The accepted objects of an image of ``size`` (H, W), as in `knowledge.Accepted`."""

    size: tuple[int, int]
    masks: Sequence[Rle]
    classes: Sequence[int]
    complete: bool = False


@dataclass(frozen=True)
class _Place:
    """A view to learn from: of which image, and which of its objects are in it."""

    image: int
    view: View
    objects: tuple[int, ...]
    whole: tuple[bool, ...]


class Study:
    """Learns from known images in small steps; ``done`` of ``steps`` are made."""

    def __init__(self, known: Sequence[Known], *, multimask: bool = True) -> None:
        self._known, self._multimask = known, multimask
        self._boxes = [[masks.bbox(mask) for mask in one.masks] for one in known]
        self._places = self._chosen()
        self._tasks = [
            (side, number, trying)
            for side, places in self._places.items()
            for trying in (False, True)
            for number in range(len(places))
        ]
        self.steps, self.done = len(self._tasks), 0
        self._learners: dict[int, Learner] = {}
        self.knowledge: dict[int, Knowledge] = {}

    def step(
        self,
        predictor: Predictor,
        encode: Callable[[int, View], Embedding],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Learn from one view; False where nothing is left. ``encode`` gets the image's number.

        A step that is cancelled is made again.
        """
        if self.done >= self.steps:
            return False
        side, number, trying = self._tasks[self.done]
        if side not in self._learners:
            self._learners[side] = Learner(predictor, multimask=self._multimask)
        place, learner = self._places[side][number], self._learners[side]
        accepted = self._accepted(place, encode(place.image, place.view))
        if trying:
            learner.try_on(number, accepted, cancelled)
        else:
            learner.look_at(accepted, cancelled)
        self.done += 1
        if trying and number + 1 == len(self._places[side]):
            self.knowledge[side] = learner.finish()
        return True

    def _chosen(self) -> dict[int, list[_Place]]:
        """The views to learn from at each distance: of every image the fullest, then the next."""
        sides = sides_for(
            [(one.size, [masks.area(mask) ** 0.5 for mask in one.masks]) for one in self._known]
        )
        chosen: dict[int, list[_Place]] = {}
        for side in sides:
            ranked = []
            for number, one in enumerate(self._known):
                seen = [v for v in views(one.size, sides) if v.side == side and not _is_huge(v)]
                own = [self._place(number, view) for view in seen]
                own = sorted((p for p in own if any(p.whole)), key=lambda p: -sum(p.whole))
                ranked += list(enumerate(own))
            ranked.sort(key=lambda pair: pair[0])
            if ranked:
                chosen[side] = [place for _, place in ranked[:MOST_LEARNT]]
        return chosen

    def _place(self, number: int, view: View) -> _Place:
        boxes = self._boxes[number]
        inside = tuple(n for n, box in enumerate(boxes) if view.meets(box))
        return _Place(number, view, inside, tuple(view.holds(boxes[n]) for n in inside))

    def _accepted(self, place: _Place, embedding: Embedding) -> Accepted:
        one, view = self._known[place.image], place.view
        return Accepted(
            view.own(embedding),
            [view.cut(one.masks[n]) for n in place.objects],
            [one.classes[n] for n in place.objects],
            one.complete,
            place.whole,
            view.open_sides,
        )


class Search:
    """Suggestions on one image of ``size`` (H, W), view by view; ``done`` of ``steps`` are made.

    Then what was found is looked at again from near. ``taken`` are the objects that are there
    already.
    """

    def __init__(
        self,
        knowledge: Mapping[int, Knowledge],
        size: tuple[int, int],
        taken: Sequence[Rle] = (),
        options: SuggestOptions = DEFAULT_SUGGESTING,
    ) -> None:
        self._knowledge, self._options = knowledge, options
        self._views = views(size, sorted(knowledge))
        self._taken = [(masks.bbox(mask), mask) for mask in taken]
        self._found: list[Suggestion] = []
        self._boxes: list[Box] = []
        self._unexplained: dict[int, list[NDArray[np.float64]]] = {}
        self._size = size
        self._near: Sharpening | None = None
        self.steps, self.done = len(self._views), 0

    def step(
        self,
        predictor: Predictor,
        encode: Encode,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Look at one view, or at what was found; False where nothing is left."""
        while self.done < self.steps and not self._is_worth(self._views[self.done]):
            self.done += 1
        if self.done >= self.steps:
            return self._sharpening(predictor).step(predictor, encode, cancelled)
        view = self._views[self.done]
        sure = [
            (box, one.mask)
            for box, one in zip(self._boxes, self._found, strict=True)
            if one.confidence >= self._options.covers_at
        ]
        seen = look_for(
            predictor,
            view.own(encode(view)),
            self._knowledge[view.side],
            options=self._options,
            taken=_union(view, self._taken),
            explained=_union(view, sure),
            open_sides=view.open_sides,
            cancelled=cancelled,
        )
        moved = [_moved(one, view) for one in seen.suggestions]
        self._found += moved
        self._boxes += [masks.bbox(one.mask) for one in moved]
        self._unexplained.setdefault(view.side, []).append(seen.unexplained + view.box[:2])
        self.done += 1
        return True

    def _sharpening(self, predictor: Predictor) -> Sharpening:
        """The nearer look at all that was found, once every view has been looked at."""
        if self._near is None:
            found = best_of(alike(self._found, self._options), self._options)
            input_size = int(predictor.sam.image_encoder.img_size)
            self._near = Sharpening(found, self._size, input_size)
        return self._near

    @property
    def share(self) -> float:
        """How far the search is, 0 to 1."""
        looked = self.done / max(1, self.steps)
        if self._near is None:
            return (1 - NEARER_SHARE) * looked
        return 1 - NEARER_SHARE * (1 - self._near.done / max(1, self._near.steps))

    def _is_worth(self, view: View) -> bool:
        """Whether something in a view was warm from farther away, but no mask was convincing."""
        farther = [side for side in self._unexplained if side > view.side]
        if not farther:
            return True
        x0, y0, x1, y1 = view.box
        for points in self._unexplained[min(farther)]:
            x, y = points.T
            if ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).any():
                return True
        return False

    def suggestions(self) -> list[Suggestion]:
        """What was found so far without duplicates, the most confident first."""
        if self._near is not None:
            return best_of(self._near.suggestions(), self._options)
        return best_of(alike(self._found, self._options), self._options)


def search(
    predictor: Predictor,
    encode: Encode,
    knowledge: Mapping[int, Knowledge],
    size: tuple[int, int],
    *,
    taken: Sequence[Rle] = (),
    options: SuggestOptions = DEFAULT_SUGGESTING,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Suggestion]:
    """All of a `Search` at once."""
    looking = Search(knowledge, size, taken, options)
    while looking.step(predictor, encode, cancelled):
        pass
    return looking.suggestions()


def _is_huge(view: View) -> bool:
    """Whether masks of all that is in a view would not fit into the memory together."""
    x0, y0, x1, y1 = view.box
    return is_large(x1 - x0, y1 - y0)


def _union(view: View, there: Sequence[tuple[Box, Rle]]) -> Mask | None:
    cuts = [view.cut(mask) for box, mask in there if view.meets(box)]
    return np.asarray(np.any(cuts, axis=0)) if cuts else None


def _moved(one: Suggestion, view: View) -> Suggestion:
    """A suggestion found in a view, on the whole image."""
    if view.region is None:
        return one
    x0, y0 = view.box[:2]
    x, y, width, height = masks.bbox(one.mask)
    window = masks.decode_window(one.mask, x, y, x + width, y + height)
    mask = masks.encode_window(window, x0 + x, y0 + y, *view.size)
    return replace(one, mask=mask, point=(one.point[0] + x0, one.point[1] + y0))
