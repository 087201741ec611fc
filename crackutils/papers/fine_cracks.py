"""Which loss finds the fine cracks: the losses that are compared, and what their records show."""

# the losses whose recall of fine cracks is compared first, and those that follow; weighted BCE has
# the class weight of Balanced Step 0.83, (1 + 0.83) / (1 - 0.83)
FIRST_SETTINGS = (("mse", None), ("bce", None), ("relu", 0.97), ("balanced_step", 0.83),
                  ("dice", None))
OTHER_SETTINGS = (("squared_balanced_step", 0.5), ("step", 0.69), ("step", 0.73),
                  ("weighted_bce", 10.8), ("bce_dice", (1.0, 1.0)), ("tversky", (0.3, 0.7)),
                  ("focal", 2.0), ("dice_cldice", 0.5))
