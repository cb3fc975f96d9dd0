"""How `make refresh` saves a notebook: the configuration it hands to nbconvert.

A live widget shows "model not found" when a notebook is opened again with a fresh kernel, and GitHub cannot
show it at all. Our widgets send a still picture along with the live one; saving keeps the picture only.
Pictures are kept with 256 colours: a third of the size. For `nbconvert --to slides`, a heading begins a slide, the
other cells follow below it, and what is folded and shows nothing is left out. Metadata that changes with the machine
(Python's version, times, widget state) is left out, so that a second refresh on the same machine changes nothing,
except the picture in 02 that shows the clock. On another machine, pictures of gaps near round-off may change, too.
"""

import base64
from pathlib import Path

from nbconvert.preprocessors import CoalesceStreamsPreprocessor, Preprocessor

from helpers import picture

README_PICTURE = Path("first_picture.png")  # the picture of the cell tagged readme-picture
LANGUAGE = {  # what nbconvert needs to write a .py, and nothing that changes with the machine
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
WIDGET = "application/vnd.jupyter.widget-view+json"


def slide_type(cell):
    if cell.cell_type == "markdown":
        return "slide" if cell.source.startswith("#") else "subslide"
    return "skip" if cell.metadata.get("jupyter", {}).get("source_hidden") and not cell.outputs else "subslide"


class KeepThePicture(Preprocessor):
    enabled = True

    def preprocess(self, nb, resources):
        nb.metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"},
            "language_info": LANGUAGE,
        }
        for cell in nb.cells:
            cell.metadata["slideshow"] = {"slide_type": slide_type(cell)}
            for output in cell.get("outputs", []):
                output.get("data", {}).pop(WIDGET, None)
            if "readme-picture" in cell.metadata.get("tags", []):
                README_PICTURE.write_bytes(base64.b64decode(cell.outputs[0].data["image/png"]))
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    small = picture.of_256_colours(base64.b64decode(output.data["image/png"]))
                    output.data["image/png"] = base64.b64encode(small).decode()
        return nb, resources


c = get_config()  # noqa: F821 (nbconvert provides it)
c.NotebookExporter.preprocessors = [CoalesceStreamsPreprocessor, KeepThePicture]  # first: one printout a cell
c.ExecutePreprocessor.record_timing = False
c.ExecutePreprocessor.store_widget_state = False
c.ExecutePreprocessor.timeout = 120
