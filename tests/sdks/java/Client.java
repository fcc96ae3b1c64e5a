import java.io.BufferedReader;
import java.io.InputStreamReader;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.services.sts.StsClient;

/** Answers each line `identity` with who STS says this process is, by way of the SDK's default chain. */
public final class Client {
    public static void main(String[] arguments) throws Exception {
        try (StsClient sts = StsClient.create()) {
            var lines = new BufferedReader(new InputStreamReader(System.in));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                System.out.println(line.equals("version") ? json("version", VersionInfo.SDK_VERSION) : identity(sts));
                System.out.flush();
            }
        }
    }

    private static String identity(StsClient sts) {
        try {
            return json("arn", sts.getCallerIdentity().arn());
        } catch (RuntimeException error) {
            return json("error", error.toString());
        }
    }

    private static String json(String name, String value) {
        var text = new StringBuilder("{\"" + name + "\": \"");
        value.chars().forEach(c -> text.append(c < ' ' || c == '"' || c == '\\' ? String.format("\\u%04x", c) : (char) c));
        return text + "\"}";
    }
}
