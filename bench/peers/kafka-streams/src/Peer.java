import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.Cache;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;
import org.rocksdb.WriteBufferManager;

/**
 * The benchmark's workloads on Kafka Streams: {@code Peer WORKLOAD INPUT OUTPUT key=value...}.
 *
 * <p>{@code count}: how many records each key has had, every update written; the key is text, the
 * count 8 bytes big endian. {@code map}: key and value as they are. The pairs are properties of
 * {@link StreamsConfig} as the runner sets them; {@code report=FILE} names a file for the longest
 * times between two records, written when the program is ended by SIGTERM; {@code rocksdb.bytes=N}
 * bounds what all stores together take outside of the heap, without it they are as they are by
 * default.
 */
public final class Peer {
    /** The clock is read once in this many records: a pause is much longer than they take. */
    private static final int RECORDS_PER_LOOK = 64;

    private static final Stalls STALLS = new Stalls();

    public static void main(String[] args) throws Exception {
        String workload = args[0];
        String input = args[1];
        String output = args[2];
        Properties properties = new Properties();
        Path report = null;
        for (int i = 3; i < args.length; i++) {
            int equals = args[i].indexOf('=');
            String name = args[i].substring(0, equals);
            String value = args[i].substring(equals + 1);
            if (name.equals("report")) {
                report = Path.of(value);
            } else if (name.equals("rocksdb.bytes")) {
                BoundedMemory.limit(Long.parseLong(value));
                properties.put(
                        StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, BoundedMemory.class);
            } else {
                properties.put(name, value);
            }
        }
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);

        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, byte[]> records =
                builder.stream(input, Consumed.with(Serdes.String(), Serdes.ByteArray()))
                        .peek((key, value) -> STALLS.record());
        switch (workload) {
            case "count" ->
                    records.groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
                            .count(
                                    Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts")
                                            .withKeySerde(Serdes.String())
                                            .withValueSerde(Serdes.Long()))
                            .toStream()
                            .to(output, Produced.with(Serdes.String(), Serdes.Long()));
            case "map" ->
                    records.mapValues(value -> value)
                            .to(output, Produced.with(Serdes.String(), Serdes.ByteArray()));
            default -> throw new IllegalArgumentException("unknown workload " + workload);
        }

        KafkaStreams streams = new KafkaStreams(builder.build(properties), properties);
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    ended.countDown();
                    return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
                });
        Path to = report;
        Runtime.getRuntime()
                .addShutdownHook(
                        new Thread(
                                () -> {
                                    streams.close(Duration.ofSeconds(30));
                                    STALLS.write(to);
                                }));
        streams.start();
        ended.await();
        System.exit(1);
    }

    /**
     * One block cache and one bound on memtables for all stores, indexes and filters included, as
     * Kafka Streams' manual shows it under "Memory management".
     */
    public static final class BoundedMemory implements RocksDBConfigSetter {
        private static final double FOR_INDEXES_AND_FILTERS = 0.25;

        private static Cache cache;
        private static WriteBufferManager memtables;

        static void limit(long bytes) {
            RocksDB.loadLibrary();
            cache = new LRUCache(bytes, -1, false, FOR_INDEXES_AND_FILTERS);
            memtables = new WriteBufferManager(bytes / 2, cache);
        }

        @Override
        public void setConfig(String store, Options options, Map<String, Object> configs) {
            BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
            table.setBlockCache(cache);
            table.setCacheIndexAndFilterBlocks(true);
            table.setCacheIndexAndFilterBlocksWithHighPriority(true);
            table.setPinTopLevelIndexAndFilter(true);
            options.setWriteBufferManager(memtables);
            options.setTableFormatConfig(table);
        }

        @Override
        public void close(String store, Options options) {
            // Cache and bound are shared by all stores, and live as long as the process.
        }
    }

    /** The times between records that were longer than a millisecond: how many, by milliseconds. */
    private static final class Stalls {
        private final ThreadLocal<long[]> last = ThreadLocal.withInitial(() -> new long[2]);
        private final Map<Long, Long> millis = new TreeMap<>();

        void record() {
            long[] seen = last.get();
            if (seen[0]++ % RECORDS_PER_LOOK != 0) {
                return;
            }
            long now = System.nanoTime();
            long gap = (now - seen[1]) / 1_000_000;
            if (seen[1] != 0 && gap > 0) {
                synchronized (millis) {
                    millis.merge(gap, 1L, Long::sum);
                }
            }
            seen[1] = now;
        }

        void write(Path to) {
            if (to == null) {
                return;
            }
            StringBuilder text = new StringBuilder();
            synchronized (millis) {
                millis.forEach((gap, count) -> text.append(gap).append(' ').append(count).append('\n'));
            }
            try {
                Files.writeString(to, text);
            } catch (IOException error) {
                error.printStackTrace();
            }
        }
    }

    private Peer() {}
}
