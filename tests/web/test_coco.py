"""The COCO annotations of an archive, as importers read them."""

import numpy as np
import pictures
import pytest
from PIL import Image
from pycocotools import mask as rle
from specs import spec

from storage.job import Job, Outcome, Status
from web.rendering.archive import Coco


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised in pycocotools' decoder
def test_categories_begin_with_1() -> None:
    """Importers treat category 0 as the background, so they would lose class 0."""
    ids = np.random.default_rng(2).integers(0, 3, (30, 40), np.uint8)
    mask = Image.frombytes("P", (40, 30), ids.tobytes())
    mask.putpalette(bytes(range(9)))
    names = ("pet", "background", "border")
    result = {"classes": [{"id": i, "name": name, "pixels": int((ids == i).sum())} for i, name in enumerate(names)]}
    job = Job(spec(custom_id="cat.jpg"), Status.SUCCEEDED, 1, outcome=Outcome(Status.SUCCEEDED, result=result))
    coco = Coco()
    coco.add(job, pictures.encoded(mask, "PNG"))
    document = coco.document("pets")
    assert document["categories"] == [{"id": 1, "name": "pet"}, {"id": 3, "name": "border"}]
    assert [annotation["category_id"] for annotation in document["annotations"]] == [1, 3]
    for annotation in document["annotations"]:
        found = rle.decode(annotation["segmentation"])
        np.testing.assert_array_equal(found, ids == annotation["category_id"] - 1)
        assert annotation["area"] == found.sum()
