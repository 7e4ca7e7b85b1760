import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Posts three bodies as the JDK's client does by default: it asks for HTTP/2 first. */
class Post {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        String[][] bodies = {{"/double", "123"}, {"/double", "4"}, {"/named", "\"me\""}};
        for (String[] each : bodies) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + each[0]))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(each[1]))
                .build();
            System.out.println(client.send(request, BodyHandlers.ofString()).body());
        }
    }
}
