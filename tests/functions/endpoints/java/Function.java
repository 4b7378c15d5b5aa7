import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Map;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.SdkHttpClient;
import software.amazon.awssdk.http.apache.ApacheHttpClient;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.services.apigatewaymanagementapi.ApiGatewayManagementApiAsyncClient;
import software.amazon.awssdk.services.apigatewaymanagementapi.ApiGatewayManagementApiClient;
import software.amazon.awssdk.services.apigatewaymanagementapi.model.PostToConnectionRequest;

/** AWS SDK for Java v2 with the endpoints that handlers build, in a runtime of its own. */
public final class Function {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        String runtime = "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";
        while (true) {
            var next = HTTP.send(HttpRequest.newBuilder(URI.create(runtime + "next")).build(), BodyHandlers.ofString());
            String id = next.headers().firstValue("lambda-runtime-aws-request-id").orElseThrow();
            byte[] response = JSON.writeValueAsBytes(respond(JSON.readTree(next.body())));
            var request = HttpRequest.newBuilder(URI.create(runtime + id + "/response"));
            HTTP.send(request.POST(BodyPublishers.ofByteArray(response)).build(), BodyHandlers.discarding());
        }
    }

    private static Map<String, Object> respond(JsonNode event) {
        try {
            return Map.of("statusCode", 200, "body", handle(event));
        } catch (Exception error) {
            return Map.of("statusCode", 200, "body", "failed: " + error);
        }
    }

    private static String handle(JsonNode event) throws Exception {
        JsonNode context = event.get("requestContext");
        String stage = context.get("stage").asText();
        String domain = "https://" + context.get("domainName").asText() + "/" + stage;
        String own = "https://" + context.get("apiId").asText() + ".execute-api." + System.getenv("AWS_REGION")
            + ".amazonaws.com/" + stage;
        String body = event.get("body").asText();
        String id = context.get("connectionId").asText();
        switch (body) {
            case "domain" -> post(ApacheHttpClient.create(), domain, "apache", id);
            case "id" -> post(ApacheHttpClient.create(), own, "apache", id);
            case "url-connection" -> post(UrlConnectionHttpClient.create(), domain, body, id);
            case "netty" -> postAsync(domain, id);
            default -> {
                return new String(new URL(body).openStream().readAllBytes());
            }
        }
        return "posted";
    }

    private static PostToConnectionRequest request(String client, String endpoint, String id) {
        SdkBytes data = SdkBytes.fromUtf8String("java " + client + " " + endpoint);
        return PostToConnectionRequest.builder().connectionId(id).data(data).build();
    }

    private static void post(SdkHttpClient http, String endpoint, String client, String id) {
        var builder = ApiGatewayManagementApiClient.builder().endpointOverride(URI.create(endpoint)).httpClient(http);
        try (var api = builder.build()) {
            api.postToConnection(request(client, endpoint, id));
        }
    }

    private static void postAsync(String endpoint, String id) {
        var builder = ApiGatewayManagementApiAsyncClient.builder().endpointOverride(URI.create(endpoint));
        try (var api = builder.httpClient(NettyNioAsyncHttpClient.create()).build()) {
            api.postToConnection(request("netty", endpoint, id)).join();
        }
    }
}
