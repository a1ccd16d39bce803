"""Print the name and value of each file in a directory that package watchdog says has changed."""
import os
import sys
import time

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer


class Printer(FileSystemEventHandler):
    def on_any_event(self, event):
        if event.is_directory or event.event_type not in ("modified", "closed"):
            return
        with open(event.src_path) as f:
            print(os.path.basename(event.src_path), f.read(), flush=True)


observer = Observer()
observer.schedule(Printer(), sys.argv[1])
observer.start()
print("ready", flush=True)
while True:
    time.sleep(1)
