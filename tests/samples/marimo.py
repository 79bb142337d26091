# /// script
# dependencies = ["alpha"]
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App()


@app.cell
def _():
    x = 1
    print(x)
    return


if __name__ == "__main__":
    app.run()
