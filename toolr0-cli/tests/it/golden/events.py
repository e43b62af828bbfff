"""Writes events.json: two records of an event file, as TensorBoard's own writer makes them.

Run in this folder, with `pip install tensorboard==2.21.0 protobuf==7.36.2`: python events.py
"""

import io
import json

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def record(event):
    file = io.BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue().hex()


values = [("generator/reward", 0.25), ("a" * 200, -3.0)]
summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values])
golden = {
    "version": record(Event(wall_time=1.5, file_version="brain.Event:2")),
    "event": record(Event(wall_time=1.5, step=300, summary=summary)),
}
with open("events.json", "w") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
