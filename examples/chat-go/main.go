// Chat with rooms: one function for all routes of a WebSocket API.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

type chat struct {
	aws     aws.Config
	members memberTable
}

// command is a message of a client.
type command struct {
	Room string `json:"room"`
	Text string `json:"text"`
}

func main() {
	settings, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	members := memberTable{client: dynamodb.NewFromConfig(settings), name: os.Getenv("TABLE_NAME")}
	lambda.Start((&chat{aws: settings, members: members}).handle)
}

func (c *chat) handle(ctx context.Context, event events.APIGatewayWebsocketProxyRequest) (events.APIGatewayProxyResponse, error) {
	request := event.RequestContext
	var err error
	switch request.RouteKey {
	case "$connect":
		err = c.members.save(ctx, member{ConnectionID: request.ConnectionID, Name: event.QueryStringParameters["name"]})
	case "$disconnect":
		err = c.members.remove(ctx, request.ConnectionID)
	case "join":
		err = c.join(ctx, event)
	case "send":
		err = c.send(ctx, event)
	default:
		return events.APIGatewayProxyResponse{StatusCode: 400, Body: `{"error":"the actions are join and send"}`}, nil
	}
	return events.APIGatewayProxyResponse{StatusCode: 200}, err
}

func (c *chat) join(ctx context.Context, event events.APIGatewayWebsocketProxyRequest) error {
	var message command
	if err := json.Unmarshal([]byte(event.Body), &message); err != nil {
		return err
	}
	joined, err := c.members.find(ctx, event.RequestContext.ConnectionID)
	if err != nil {
		return err
	}
	joined.Room = message.Room
	if err := c.members.save(ctx, joined); err != nil {
		return err
	}
	return c.broadcast(ctx, event, joined.Room, map[string]string{"joined": joined.Name})
}

func (c *chat) send(ctx context.Context, event events.APIGatewayWebsocketProxyRequest) error {
	var message command
	if err := json.Unmarshal([]byte(event.Body), &message); err != nil {
		return err
	}
	sender, err := c.members.find(ctx, event.RequestContext.ConnectionID)
	if err != nil {
		return err
	}
	return c.broadcast(ctx, event, sender.Room, map[string]string{"from": sender.Name, "text": message.Text})
}

// broadcast posts a message to all members of a room, and removes members whose connections are gone.
func (c *chat) broadcast(ctx context.Context, event events.APIGatewayWebsocketProxyRequest, room string, message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	endpoint := "https://" + event.RequestContext.DomainName + "/" + event.RequestContext.Stage
	management := apigatewaymanagementapi.NewFromConfig(c.aws, func(options *apigatewaymanagementapi.Options) {
		options.BaseEndpoint = aws.String(endpoint)
	})
	members, err := c.members.list(ctx, room)
	if err != nil {
		return err
	}
	for _, receiver := range members {
		post := apigatewaymanagementapi.PostToConnectionInput{ConnectionId: aws.String(receiver.ConnectionID), Data: data}
		_, err := management.PostToConnection(ctx, &post)
		var gone *types.GoneException
		if errors.As(err, &gone) {
			err = c.members.remove(ctx, receiver.ConnectionID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
