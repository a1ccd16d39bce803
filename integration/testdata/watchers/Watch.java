import java.nio.file.*;

/** Print the name and value of each file in a directory that a WatchService says has changed. */
public class Watch {
    public static void main(String[] args) throws Exception {
        Path dir = Path.of(args[0]);
        WatchService watch = dir.getFileSystem().newWatchService();
        dir.register(watch, StandardWatchEventKinds.ENTRY_MODIFY);
        System.out.println("ready");
        for (;;) {
            WatchKey key = watch.take();
            for (WatchEvent<?> event : key.pollEvents()) {
                if (event.kind() == StandardWatchEventKinds.OVERFLOW) {
                    for (Path file : Files.list(dir).toList()) {
                        System.out.println(file.getFileName() + " " + Files.readString(file));
                    }
                    continue;
                }
                Path file = dir.resolve((Path) event.context());
                System.out.println(file.getFileName() + " " + Files.readString(file));
            }
            key.reset();
        }
    }
}
