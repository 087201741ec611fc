"""How a whole picture is brought to the size a network sees."""

import albumentations
import cv2

from crackutils.parts import Sample
from crackutils.protocol import Protocol


def framed(sample: Sample, protocol: Protocol) -> Sample:
    """The sample as a network sees it whole: reduced to `tile` if `framing` is "resize".

    Images are averaged over areas, labels take the nearest pixel's.
    """
    if protocol.framing == "tiles":
        return sample
    resize = albumentations.Resize(*protocol.tile, interpolation=cv2.INTER_AREA,
                                   mask_interpolation=cv2.INTER_NEAREST)
    result = resize(image=sample.image, mask=sample.mask)
    # a width in pixels of the photograph is wrong now
    return Sample(sample.name, result["image"], result["mask"], None)
