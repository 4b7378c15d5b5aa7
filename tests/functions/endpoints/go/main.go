// Posts with the AWS SDKs for Go v1 and v2, with the endpoints that handlers build.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	awsv1 "github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
	managementv1 "github.com/aws/aws-sdk-go/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	management "github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
)

func postV1(endpoint, id string) error {
	client := managementv1.New(session.Must(session.NewSession()), awsv1.NewConfig().WithEndpoint(endpoint))
	_, err := client.PostToConnection(&managementv1.PostToConnectionInput{ConnectionId: &id, Data: []byte("go v1 " + endpoint)})
	return err
}

func postV2(ctx context.Context, endpoint, id string) error {
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := management.NewFromConfig(settings, func(options *management.Options) { options.BaseEndpoint = aws.String(endpoint) })
	_, err = client.PostToConnection(ctx, &management.PostToConnectionInput{ConnectionId: &id, Data: []byte("go v2 " + endpoint)})
	return err
}

func fetch(url string) (events.APIGatewayProxyResponse, error) {
	response, err := http.Get(url)
	if err != nil {
		return events.APIGatewayProxyResponse{StatusCode: 200, Body: err.Error()}, nil
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return events.APIGatewayProxyResponse{StatusCode: 200, Body: fmt.Sprintf("%d %s", response.StatusCode, text)}, nil
}

func handle(ctx context.Context, event events.APIGatewayWebsocketProxyRequest) (events.APIGatewayProxyResponse, error) {
	request := event.RequestContext
	domain := fmt.Sprintf("https://%s/%s", request.DomainName, request.Stage)
	own := fmt.Sprintf("https://%s.execute-api.%s.amazonaws.com/%s", request.APIID, os.Getenv("AWS_REGION"), request.Stage)
	var err error
	switch event.Body {
	case "v1 domain":
		err = postV1(domain, request.ConnectionID)
	case "v1 id":
		err = postV1(own, request.ConnectionID)
	case "domain":
		err = postV2(ctx, domain, request.ConnectionID)
	case "id":
		err = postV2(ctx, own, request.ConnectionID)
	default:
		return fetch(event.Body)
	}
	if err != nil {
		return events.APIGatewayProxyResponse{StatusCode: 200, Body: err.Error()}, nil
	}
	return events.APIGatewayProxyResponse{StatusCode: 200, Body: "posted"}, nil
}

func main() { lambda.Start(handle) }
