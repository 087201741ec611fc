"""The paper's U-Net in Keras 3 on TensorFlow, trained on given draws.

`training.py` starts it in an environment that has nothing of this repository. It reads lines of
"<first step> <steps>" and answers each with the seconds that `fit` took for these steps.
"""

import json
import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def block(features, filters: int, kernel: int):
    """Two convolutions, each with batch norm and ReLU."""
    for _ in range(2):
        features = layers.Conv2D(filters, kernel, padding="same", use_bias=False)(features)
        features = layers.ReLU()(layers.BatchNormalization()(features))
    return features


def unet(levels: int, kernel: int, first_filters: int, tile: int) -> keras.Model:
    """The network of `crackutils.models`, for N x tile x tile x 3 images in [0, 1]."""
    filters = [min(first_filters * 2**level, 256) for level in range(levels)]
    features = inputs = keras.Input((tile, tile, 3))
    skips = []
    for level, count in enumerate(filters):
        features = block(layers.MaxPooling2D()(features) if level else features, count, kernel)
        skips.append(features)
    skips.pop()
    for count in filters[-2::-1]:
        up = layers.Conv2DTranspose(count, 2, strides=2)(features)
        features = block(layers.Concatenate()([skips.pop(), up]), count, kernel)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid", dtype="float32")(features))


def dataset(arrays: dict, first: int, steps: int, batch: int, tile: int) -> tf.data.Dataset:
    """The crops of some steps, which tf.data prepares while the network computes."""
    images, masks = tf.constant(arrays["images"]), tf.constant(arrays["masks"][..., None])

    def crop(draw):
        index, top, left = draw[0], draw[1], draw[2]
        image = tf.slice(images[index], [top, left, 0], [tile, tile, 3])
        mask = tf.slice(masks[index], [top, left, 0], [tile, tile, 1])
        return tf.cast(image, tf.float32) / 255, tf.cast(mask, tf.float32)

    draws = arrays["draws"][first * batch:(first + steps) * batch]
    crops = tf.data.Dataset.from_tensor_slices(draws).map(crop, tf.data.AUTOTUNE)
    return crops.batch(batch).prefetch(tf.data.AUTOTUNE)


def main() -> None:
    fields = json.loads(sys.argv[2])
    if fields["precision"] == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    with np.load(sys.argv[1]) as file:
        arrays = dict(file)
    model = unet(fields["levels"], fields["kernel"], fields["first_filters"], fields["tile"])
    # without XLA, which Keras itself does not use if there is only a CPU
    model.compile(keras.optimizers.Adam(1e-3), "mean_squared_error")
    for line in sys.stdin:
        first, steps = map(int, line.split())
        data = dataset(arrays, first, steps, fields["batch"], fields["tile"])
        begun = time.perf_counter()
        model.fit(data, verbose=0)
        print(json.dumps(time.perf_counter() - begun), flush=True)


if __name__ == "__main__":
    main()
