"""Print the name and value of each file that inotifywait says has changed."""
import subprocess
import sys

watch = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "inotifywait", "-m", "-e", "close_write", "--format", "%f", sys.argv[1]], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
for line in watch.stderr:
    if "Watches established" in line:
        break
print("ready", flush=True)
for line in watch.stdout:
    name = line.rstrip("\n")
    with open(sys.argv[1] + "/" + name) as f:
        print(name, f.read(), flush=True)
