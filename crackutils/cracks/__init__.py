"""From a photograph to its cracks: what the commands `predict` and `export` call.

`prediction` gives the crack probabilities of a photograph of any size, `measurement` the length and
width of each crack of a mask, `report` the files that show them, `photographs` does all three for
folders of photographs, `slider` moves the threshold in JupyterLab, and `export` writes a network as
ONNX. To do it for one picture:

    model = CrackModel(model_folder("bce"))
    cracks = measure(model.predict(image) >= model.default_threshold())
"""
