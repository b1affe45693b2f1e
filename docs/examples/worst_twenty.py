"""Label, evaluate, view the worst twenty: ``python worst_twenty.py NAME``, a dataset with ground truth."""

import sys

import fiftyone as fo

import fiftyone_plugin as pseudomask

dataset = fo.load_dataset(sys.argv[1])
pseudomask.label_dataset(dataset, field="pseudo_mask")
results = pseudomask.evaluate(dataset, "pseudo_mask", "ground_truth", eval_key="eval_pseudo_mask")
results.print_metrics()
worst = dataset.select(results.evaluation.worst(20), ordered=True)
fo.launch_app(worst).wait(-1)
